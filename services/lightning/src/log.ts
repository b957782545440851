/** The log of a node. Never a secret, a preimage, or a text of a peer that lnwire has not sanitised (S70). */
import type { Log } from '@leyden/runtime'

export type { Log }

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} }
