/** BOLT 7: gossip (graph, validation, sync, our own announcements) and path finding. */
export {
  type AnnouncedSide,
  type AnnouncementFields,
  buildChannelAnnouncement,
  buildChannelUpdate,
  buildNodeAnnouncement,
  channelAnnouncementHash,
  type NodeInfo,
  type OwnPolicy,
  type Signed,
  type SignNode,
} from './gossip/announce.ts'
export {
  announcedNode,
  applyAnnouncement,
  applyNode,
  applyUpdate,
  type Direction,
  directionOf,
  emptyGraph,
  type Graph,
  type GraphChannel,
  type GraphNode,
  type Policy,
  removeChannel,
  speakerOf,
} from './gossip/graph.ts'
export { restoreOwn, routeHints } from './gossip/own.ts'
export { type GossipLoader, gossipLoader, loadGossip, type StoredOwn } from './gossip/rows.ts'
export * from './gossip/state.ts'
export { resumeGossip, stepGossip } from './gossip/step.ts'
export {
  checkChannelAnnouncement,
  checkChannelUpdate,
  checkNodeAnnouncement,
  fundingScript,
  type GossipViolation,
  type GossipViolationCode,
  isFundingOutput,
} from './gossip/validate.ts'
export { forwardingFee } from './pathfind/cost.ts'
export * from './pathfind/route.ts'
export { emptyScores, learnPolicy, recordFailure, recordSuccess, type Scores } from './pathfind/score.ts'
export * from './pathfind/search.ts'
