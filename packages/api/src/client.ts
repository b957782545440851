/**
 * The typed client: `client.v1.payments.$post({ json: { to } })`. Types come from the routes; nothing is generated.
 */
import { hc } from 'hono/client'
import type { Api } from './app.ts'
import { Problem, PROBLEM_CODES, type ProblemBody } from './problem.ts'

export interface ClientOptions {
  /** `http://127.0.0.1:9740` */
  readonly baseUrl: string
  readonly token: string
  readonly fetch?: typeof fetch
}

/** A client whose every answer is a Response with a typed `json()`. */
export const createClient = ({ baseUrl, token, fetch: fetcher }: ClientOptions) =>
  hc<Api>(baseUrl, { headers: { authorization: `Bearer ${token}` }, ...(fetcher === undefined ? {} : { fetch: fetcher }) })

const isProblem = (body: unknown): body is ProblemBody =>
  typeof body === 'object' &&
  body !== null &&
  'code' in body &&
  'detail' in body &&
  (PROBLEM_CODES as readonly unknown[]).includes(body.code) &&
  typeof body.detail === 'string'

/** The body of a good answer; throws {@link Problem} for a refusal, `internal` where something else than the node answered. */
export const unwrap = async <T>(response: Promise<{ ok: boolean; status: number; json(): Promise<T> }>): Promise<T> => {
  const answer = await response
  if (answer.ok) return await answer.json()
  const body: unknown = await answer.json().catch(() => undefined)
  if (isProblem(body)) throw new Problem(body.code, body.detail, body.errors)
  throw new Problem('internal', `HTTP ${answer.status}, without an answer of the wallet API`)
}

export { Problem, PROBLEM_CODES, type ProblemBody, type ProblemCode } from './problem.ts'
export type * from './schema.ts'
