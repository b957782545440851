/** A thread that runs scripts: entry file of the workers of script-pool.ts. Each message is the memory of one job. */
import { parentPort } from 'node:worker_threads'
import { useNativeHashes } from './native-hash.ts'
import { openScriptJob, runNextPiece } from './script-job.ts'

useNativeHashes()
parentPort?.on('message', (memory: SharedArrayBuffer) => {
  const job = openScriptJob(memory)
  let pieces = 0
  while (runNextPiece(job)) pieces++
  parentPort?.postMessage(pieces)
})
