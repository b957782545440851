/** Runs script-worker.ts from source: a worker thread takes no TypeScript by itself before Node 22. */
import { register } from 'tsx/esm/api'

register()
await import('./script-worker.ts')
