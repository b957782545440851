export { ConfigError, type LedgerConfig, type LedgerConfigInput } from './config.ts'
export { startLedger, type RunningLedger } from './daemon.ts'
export * from './engine.ts'
export { PortTaken } from './listen.ts'
