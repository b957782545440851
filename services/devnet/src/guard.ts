/** Loaded into each daemon before its own code: when the process that started it is gone, it stops in an orderly way. */
process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
process.channel?.unref()
