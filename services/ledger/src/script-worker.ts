/** A thread that runs scripts: entry file of the workers of script-pool.ts. Each message is the memory of one job. */
import { parentPort, workerData } from 'node:worker_threads'
import { knownSignatures, type ScriptCacheMemory } from '@leyden/ledger'
import { useNativeHashes } from './native-hash.ts'
import { openScriptJob, runNextPiece } from './script-job.ts'

useNativeHashes()
const signatures = knownSignatures(workerData as ScriptCacheMemory | undefined)
parentPort?.on('message', (memory: SharedArrayBuffer) => {
  const job = openScriptJob(memory)
  let pieces = 0
  while (runNextPiece(job, signatures)) pieces++
  parentPort?.postMessage(pieces)
})
