/** What is on a Lightning socket: BOLT 1 messages, BOLT 8 noise, BOLT 9 features, and the messages of BOLT 2 and 7. */
export * from './primitives.ts'
export * from './bolt1.ts'
export * from './bolt2.ts'
export * from './bolt7.ts'
export * from './node-address.ts'
export * from './message.ts'
