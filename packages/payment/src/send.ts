/**
 * Paying: one record per payment hash, one HTLC at a time, on another path after a failure. BOLT 4 § Returning Errors, BOLT 11 payer.
 * A hash is paid at most once: while a record is in flight or succeeded, no other payment of the hash begins; attempts are numbered
 * and never alive together, and an outcome counts only for the attempt that it names.
 * Session keys follow from the record's seed, so that a step needs no randomness and none is used twice.
 */
import { BlockHeight, type Msat } from '@leyden/bitcoin'
import { bytesToHex, equalBytes, hexToBytes, unreachable, utf8Encode } from '@leyden/codec'
import { hmacSha256, isValidSecret, sha256 } from '@leyden/crypto'
import { type NodeId, Preimage } from '@leyden/lnwire'
import {
  BADONION,
  buildOnion,
  encodeHopPayload,
  type Failure,
  failureCode,
  NODE,
  type OnionHop,
  PERM,
  UPDATE,
  unwrapFailure,
} from '@leyden/onion'
import { type Edge, edgeKey, type LocalEdge, MAX_HOPS, type Route, routeEdges } from '@leyden/routing'
import { type Invoice, invoiceExpiry } from './bolt11.ts'
import type { HtlcFailure } from './channel-port.ts'
import {
  type EdgeOutcome,
  NOTHING,
  type Outcome,
  type PaymentEffect,
  type PaymentEnv,
  type PaymentRefusal,
  refusal,
} from './env.ts'
import {
  type Attempt,
  type AttemptFailure,
  type Payment,
  type PaymentFailureCode,
  type PaymentPlan,
  type PaymentRecords,
  withoutPlan,
} from './records.ts'

/** The owner wants an invoice paid. */
export interface PayRequest {
  /** Decoded and verified: bolt11.ts. */
  readonly invoice: Invoice
  /** For an invoice without amount; for others at least the invoice's, at most twice. */
  readonly amountMsat?: Msat
  readonly maxFeeMsat: Msat
  /** The most blocks that our money may be locked for, in every attempt; at most the policy's, which it is by default. */
  readonly maxCltvDelta?: number
  /** No attempt begins after so long. */
  readonly timeoutMs: number
  /** 32 fresh random bytes. */
  readonly seed: Uint8Array
}

/** Session key of an attempt: HMAC of its number under the seed; a counter steps over the 2^-128 of values that are no secret. */
const sessionKeyOf = (seed: Uint8Array, attempt: number): Uint8Array => {
  for (let counter = 0; ; counter++) {
    const key = hmacSha256(seed, utf8Encode(`attempt ${attempt} ${counter}`))
    if (isValidSecret(key)) return key
  }
}

const localEdges = (env: PaymentEnv): readonly LocalEdge[] => {
  const edges: LocalEdge[] = []
  for (const channel of env.channels()) {
    const [shortChannelId] = channel.shortChannelIds
    if (!channel.usable || shortChannelId === undefined) continue
    const { remoteNodeId: peer, canSendMsat, htlcMinimumMsat } = channel
    edges.push({ shortChannelId, peer, canSendMsat, htlcMinimumMsat })
  }
  return edges
}

/** The payloads of a route. BOLT 4 § payload format: a hop is told what it sends on, the last what it is to receive. */
const hopsOf = (payment: Payment, plan: PaymentPlan, route: Route, height: number): readonly OnionHop[] =>
  route.hops.map((hop, i): OnionHop => {
    const next = route.hops[i + 1]
    const told = next ?? hop
    const amounts = { amtToForward: told.amountMsat, outgoingCltvValue: BlockHeight(height + told.cltvExpiryDelta) }
    const payload =
      next === undefined
        ? encodeHopPayload({
            kind: 'final',
            ...amounts,
            paymentData: { paymentSecret: bytesToHex(plan.paymentSecret), totalMsat: payment.amountMsat },
            ...(plan.metadata === undefined ? {} : { paymentMetadata: plan.metadata }),
          })
        : encodeHopPayload({ kind: 'forward', ...amounts, shortChannelId: next.shortChannelId })
    return { nodeId: hop.nodeId, payload }
  })

const stored = (payment: Payment): Outcome['writes'] => [{ kind: 'payment', id: payment.paymentHash, record: payment }]
const changed = (payment: Payment): PaymentEffect => ({ to: 'owner', type: 'paymentChanged', payment })

const end = (payment: Payment, failure: PaymentFailureCode, env: PaymentEnv, effects: readonly PaymentEffect[]): Outcome => {
  const ended: Payment = { ...withoutPlan(payment), status: 'failed', failure, endedAtMs: env.nowMs }
  return { writes: stored(ended), effects: [...effects, changed(ended)] }
}

/** The next attempt, or the end. `effects` are those that go before. */
const tryNext = (
  payment: Payment,
  plan: PaymentPlan,
  env: PaymentEnv,
  effects: readonly PaymentEffect[],
  attempts: number,
): Outcome => {
  if (env.nowMs >= plan.deadlineMs) return end(payment, 'timed_out', env, effects)
  if (env.nowMs >= plan.invoiceExpiresAt * 1000) return end(payment, 'invoice_expired', env, effects)
  if (attempts >= env.policy.maxAttempts) return end(payment, 'too_many_attempts', env, effects)
  const failures = payment.attempts.flatMap(({ failure }) => (failure === undefined ? [] : [failure]))
  const query = {
    target: payment.payee,
    amountMsat: payment.amountMsat,
    finalCltvDelta: plan.minFinalCltvExpiryDelta + env.policy.finalCltvSlack,
    maxFeeMsat: payment.maxFeeMsat,
    maxCltvDelta: plan.maxCltvDelta,
    localEdges: localEdges(env),
    hints: plan.routeHints,
    ignoredEdges: new Set(failures.flatMap((failure) => failure.avoidEdges ?? [])),
    ignoredNodes: new Set(failures.flatMap((failure) => failure.avoidNodes ?? [])),
  }
  let tooLong = false
  for (let maxHops = MAX_HOPS; maxHops > 0;) {
    const route = env.findRoute({ ...query, maxHops })
    const [first] = route?.hops ?? []
    const channel = first && env.findChannel(first.shortChannelId)
    if (route === undefined || first === undefined || channel === undefined) break
    if (route.totalFeeMsat > payment.maxFeeMsat || route.totalCltvDelta > plan.maxCltvDelta) break
    const number = payment.nextAttempt
    const onion = buildOnion({
      sessionKey: sessionKeyOf(plan.seed, number),
      hops: hopsOf(payment, plan, route, env.height),
      associatedData: hexToBytes(payment.paymentHash),
    })
    if ('problem' in onion) {
      if (onion.problem === 'invalid_node_id') break
      // S68: metadata and long routes together may not fit into an onion: look for a shorter one
      tooLong = true
      maxHops = Math.min(maxHops, route.hops.length) - 1
      continue
    }
    const attempt: Attempt = {
      number,
      channelId: channel.channelId,
      route,
      status: 'inFlight',
      startedAtMs: env.nowMs,
      sharedSecrets: onion.sharedSecrets,
    }
    const next: Payment = { ...payment, attempts: [...payment.attempts, attempt], nextAttempt: number + 1 }
    return {
      writes: stored(next),
      // the channel may refuse at once: what the owner hears of this attempt comes before
      effects: [
        ...effects,
        changed(next),
        {
          to: 'channel',
          channelId: channel.channelId,
          command: {
            from: 'owner',
            type: 'offerHtlc',
            amountMsat: first.amountMsat,
            paymentHash: payment.paymentHash,
            cltvExpiry: BlockHeight(env.height + first.cltvExpiryDelta),
            onion: onion.packet,
            origin: { kind: 'payment', paymentId: payment.paymentHash, attempt: number },
          },
        },
      ],
    }
  }
  return end(payment, tooLong ? 'route_too_long' : 'no_route', env, effects)
}

/** Attempts since the owner last asked. */
const recentAttempts = (payment: Payment): number =>
  payment.attempts.filter((attempt) => attempt.startedAtMs >= payment.createdAtMs).length

/** The owner pays. A payment that failed may be tried anew; one that is under way or done is not. */
export const pay = (records: PaymentRecords, request: PayRequest, env: PaymentEnv): Outcome | PaymentRefusal => {
  const { invoice } = request
  const before = records.payment(invoice.paymentHash)
  if (before?.status === 'succeeded') return refusal('already_paid', { paymentHash: invoice.paymentHash })
  if (before?.status === 'inFlight') return refusal('already_in_flight', { paymentHash: invoice.paymentHash })
  if (invoice.prefix !== env.invoicePrefix) return refusal('wrong_network', { prefix: invoice.prefix })
  if (invoice.payee === env.nodeId) return refusal('own_invoice')
  if (env.nowMs >= invoiceExpiry(invoice) * 1000) return refusal('invoice_expired', { expiredAt: invoiceExpiry(invoice) })
  const amountMsat = request.amountMsat ?? invoice.amountMsat
  if (amountMsat === undefined || amountMsat === 0n) return refusal('amount_missing')
  if (invoice.amountMsat !== undefined && (amountMsat < invoice.amountMsat || amountMsat > 2n * invoice.amountMsat))
    return refusal('amount_too_small', { amountMsat, invoiceMsat: invoice.amountMsat })
  if (request.seed.length !== 32) throw new RangeError('seed')
  const plan: PaymentPlan = {
    maxCltvDelta: Math.min(request.maxCltvDelta ?? env.policy.maxCltvDelta, env.policy.maxCltvDelta),
    paymentSecret: invoice.paymentSecret,
    ...(invoice.metadata === undefined ? {} : { metadata: invoice.metadata }),
    routeHints: invoice.routeHints,
    minFinalCltvExpiryDelta: invoice.minFinalCltvExpiryDelta,
    invoiceExpiresAt: invoiceExpiry(invoice),
    seed: request.seed,
    deadlineMs: env.nowMs + request.timeoutMs,
  }
  const payment: Payment = {
    paymentHash: invoice.paymentHash,
    payee: invoice.payee,
    invoice: invoice.text,
    amountMsat,
    maxFeeMsat: request.maxFeeMsat,
    plan,
    createdAtMs: env.nowMs,
    attempts: [],
    nextAttempt: before?.nextAttempt ?? 0,
    status: 'inFlight',
  }
  return tryNext(payment, plan, env, [], 0)
}

const findAttempt = (payment: Payment | undefined, number: number): Attempt | undefined =>
  payment?.attempts.find((attempt) => attempt.number === number && attempt.status === 'inFlight')

const withAttempt = (payment: Payment, ended: Attempt): Payment => ({
  ...payment,
  attempts: payment.attempts.map((attempt) => (attempt.number === ended.number ? ended : attempt)),
})

/** What follows from a failure that the network sent. */
const judge = (
  route: Route,
  edges: readonly Edge[],
  index: number,
  failure: Failure | undefined,
): { readonly failure: AttemptFailure; readonly final: boolean; readonly failed: Edge | undefined } => {
  const code = failure === undefined ? 0 : failureCode(failure)
  const name = failure?.type ?? 'unreadable'
  const node = route.hops[index]?.nodeId
  const last = index === route.hops.length - 1
  const learn = (avoidEdges: readonly (Edge | undefined)[], avoidNodes: readonly (NodeId | undefined)[]): AttemptFailure => ({
    code: name === 'unknown' ? `unknown ${code}` : name,
    hop: index,
    avoidEdges: avoidEdges.filter((edge) => edge !== undefined).map(edgeKey),
    avoidNodes: avoidNodes.filter((id) => id !== undefined),
  })
  if (last) {
    // only these may pass by themselves; the edge into the payee is avoided, so that the same path is not taken again
    const passing = ['temporary_node_failure', 'mpp_timeout', 'final_incorrect_cltv_expiry', 'final_incorrect_htlc_amount']
    return { failure: learn([edges[index]], []), final: !passing.includes(name), failed: undefined }
  }
  const outgoing = edges[index + 1]
  // what the node says about the HTLC that it got is the doing of those before it as much as its own
  if (failure === undefined || (code & NODE) !== 0) return { failure: learn([], [node]), final: false, failed: edges[index] }
  if (name === 'expiry_too_far' || name === 'invalid_onion_payload')
    return { failure: learn([], [node]), final: false, failed: undefined }
  if ((code & (BADONION | PERM | UPDATE)) !== 0) return { failure: learn([outgoing], []), final: false, failed: outgoing }
  return { failure: learn([outgoing], [node]), final: false, failed: outgoing }
}

/** The update inside of a failure, if it holds one. */
const updateOf = (failure: Failure | undefined): Uint8Array | undefined =>
  failure !== undefined && 'channelUpdate' in failure && failure.channelUpdate.length > 0 ? failure.channelUpdate : undefined

/** Failures that the node's present policy explains: with it the same edge may do. */
const POLICY_FAILURES = ['fee_insufficient', 'incorrect_cltv_expiry', 'amount_below_minimum', 'expiry_too_soon']

/** An HTLC of ours is irrevocably gone, or never was. Another path, or the end. */
export const attemptFailed = (
  payment: Payment | undefined,
  number: number,
  failure: HtlcFailure | { readonly kind: 'refused' },
  env: PaymentEnv,
): Outcome => {
  const attempt = findAttempt(payment, number)
  const plan = payment?.plan
  if (payment === undefined || attempt === undefined || payment.status !== 'inFlight' || plan === undefined) return NOTHING
  const { route } = attempt
  const edges = routeEdges(env.nodeId, route)
  const first = edges[0]
  const firstHop = (code: string): AttemptFailure => ({
    code,
    avoidEdges: first === undefined ? [] : [edgeKey(first)],
    avoidNodes: [],
  })
  const outcomes: EdgeOutcome[] = []
  let result: AttemptFailure
  let final = false
  switch (failure.kind) {
    case 'onchain':
    case 'neverSent':
    case 'refused':
      result = firstHop(failure.kind)
      break
    case 'malformed':
      result = firstHop('malformed')
      break
    case 'remote': {
      const returned = unwrapFailure(attempt.sharedSecrets ?? [], failure.reason)
      // S64: who failed is one of our hops, or nobody
      if (returned === undefined || route.hops[returned.index] === undefined) {
        const suspects = edges.slice(1)
        result = { code: 'unreadable', avoidEdges: (suspects.length > 0 ? suspects : edges).map(edgeKey), avoidNodes: [] }
        break
      }
      const { index } = returned
      const judged = judge(route, edges, index, returned.failure)
      result = judged.failure
      final = judged.final
      edges.slice(0, index + 1).forEach((edge, i) => {
        const amountMsat = route.hops[i]?.amountMsat
        if (amountMsat !== undefined && edge !== judged.failed) outcomes.push({ passed: true, edge, amountMsat })
      })
      const channelUpdate = updateOf(returned.failure)
      const amountMsat = route.hops[index + 1]?.amountMsat ?? payment.amountMsat
      if (judged.failed !== undefined)
        outcomes.push({
          passed: false,
          edge: judged.failed,
          amountMsat,
          ...(channelUpdate === undefined ? {} : { channelUpdate }),
        })
      // once per edge: a node that refuses what it asked for itself is left alone
      const again =
        channelUpdate !== undefined &&
        POLICY_FAILURES.includes(result.code) &&
        !payment.attempts.some(
          (earlier) =>
            earlier.failure?.hop !== undefined &&
            earlier.failure.code === result.code &&
            earlier.route.hops[earlier.failure.hop]?.nodeId === route.hops[index]?.nodeId,
        )
      if (again) result = { ...result, avoidEdges: [] }
      break
    }
    default:
      return unreachable(failure)
  }
  const { sharedSecrets: _, ...rest } = attempt
  const ended: Attempt = { ...rest, status: 'failed', endedAtMs: env.nowMs, failure: result }
  const next = withAttempt(payment, ended)
  const effects: readonly PaymentEffect[] = outcomes.length > 0 ? [{ to: 'owner', type: 'edges', outcomes }] : []
  return final ? end(next, 'payee_refused', env, effects) : tryNext(next, plan, env, effects, recentAttempts(next))
}

/** A preimage for an HTLC of ours: paid. One that does not hash to the payment hash is none. */
export const attemptFulfilled = (
  payment: Payment | undefined,
  number: number,
  preimage: Uint8Array,
  env: PaymentEnv,
): Outcome => {
  const attempt = findAttempt(payment, number)
  if (payment === undefined || attempt === undefined) return NOTHING
  if (!equalBytes(sha256(preimage), hexToBytes(payment.paymentHash))) return NOTHING
  const { sharedSecrets: _, ...rest } = attempt
  const { failure: _failure, ...sofar } = withAttempt(payment, { ...rest, status: 'succeeded', endedAtMs: env.nowMs })
  const paid: Payment = {
    ...withoutPlan(sofar),
    status: 'succeeded',
    endedAtMs: env.nowMs,
    preimage: Preimage(bytesToHex(preimage)),
    feeMsat: attempt.route.totalFeeMsat,
  }
  const outcomes = routeEdges(env.nodeId, attempt.route).flatMap((edge, i): readonly EdgeOutcome[] => {
    const amountMsat = attempt.route.hops[i]?.amountMsat
    return amountMsat === undefined ? [] : [{ passed: true, edge, amountMsat }]
  })
  return { writes: stored(paid), effects: [{ to: 'owner', type: 'edges', outcomes }, changed(paid)] }
}
