/** Types of client.mjs. What a command answers depends on the command: see README.md. */
export type LdkAnswer = any
export interface LdkEvent {
  readonly event: string
  readonly [field: string]: any
}

export interface LdkPeerOptions {
  /** `http://user:password@127.0.0.1:18443` */
  readonly rpc: string
  readonly name?: string
  readonly seed?: string
  readonly listen?: string
  readonly args?: readonly string[]
  readonly nodeArgs?: readonly string[]
  readonly stderr?: 'inherit' | 'ignore' | number
  readonly onEvent?: ((event: LdkEvent) => void) | null
}

export class LdkPeer {
  static start(options: LdkPeerOptions): Promise<LdkPeer>
  readonly name: string
  readonly nodeId: string
  readonly port: number
  readonly ready: LdkEvent
  readonly exited: boolean
  cmd(cmd: string, args?: Readonly<Record<string, unknown>>): Promise<LdkAnswer>
  /** The first event of this name that matches and was not yet taken: one already seen, or the next to come. */
  event(name: string, pred?: ((event: LdkEvent) => boolean) | null, timeoutMs?: number): Promise<LdkEvent>
  /** Like event(), but only among those already seen. */
  take(name: string, pred?: ((event: LdkEvent) => boolean) | null): LdkEvent | null
  stop(): Promise<void>
}
