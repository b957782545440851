export * from './download.ts'
export * from './framing.ts'
export * from './message.ts'
export * from './peer.ts'
