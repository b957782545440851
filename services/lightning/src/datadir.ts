import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where a node keeps its data unless told otherwise. */
export const defaultDatadir = (): string => join(homedir(), '.leyden', 'lightning')
