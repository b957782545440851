import { describe, expect, it } from 'vitest'
import { duplicateName } from './json-names.ts'

describe('a name that stands twice', () => {
  it('is found in the object that is meant, and in no other', () => {
    const json = '{"a": {"x": 1, "y": {"x": 2}, "x": "{,"}, "l": [[1, 2], {"b": 1, "c\\"": 2, "b": 3}], "a": 1}'
    expect(duplicateName(json, [])).toBe('a')
    expect(duplicateName(json, ['a'])).toBe('x')
    expect(duplicateName(json, ['a', 'y'])).toBeUndefined()
    expect(duplicateName(json, ['l', '1'])).toBe('b')
    expect(duplicateName(json, ['l', '0'])).toBeUndefined()
    expect(duplicateName('{"a": 1, "b": "a"}', [])).toBeUndefined()
    expect(duplicateName(`{"a": "${'0'.repeat(5_000_000)}", "b\\\\": "\\"", "a": ""}`, [])).toBe('a')
  })
})
