/** Seeds outside of the usual range that found something, and what it was. They always run. */
export interface Case {
  readonly seed: number
  readonly found: string
}

export const CASES: readonly Case[] = []
