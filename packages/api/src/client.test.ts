/** The typed client against the app itself. */
import { describe, expect, expectTypeOf, it } from 'vitest'
import { createClient, type Payment, Problem, unwrap } from './client.ts'
import { NODE_ID, testApi, TOKEN } from './testing.ts'

const clientOf = (token = TOKEN) => {
  const { app, wallet } = testApi()
  const fetcher = (input: string | URL | Request, init?: RequestInit) => Promise.resolve(app.request(input as string, init))
  return { wallet, client: createClient({ baseUrl: 'http://127.0.0.1', token, fetch: fetcher as typeof fetch }) }
}

describe('createClient', () => {
  it('gives typed resources', async () => {
    const { client } = clientOf()
    const node = await unwrap(client.v1.node.$get())
    expect(node.nodeId).toBe(NODE_ID)
    const payment = await unwrap(client.v1.payments.$post({ json: { to: 'x' } }, { headers: { prefer: 'wait=5' } }))
    expectTypeOf(payment).toEqualTypeOf<Payment>()
    expect(payment.status).toBe('succeeded')
  })

  it('throws the problem of a refusal', async () => {
    const { client } = clientOf('wrong')
    await expect(unwrap(client.v1.balance.$get())).rejects.toMatchObject({
      name: 'Problem',
      code: 'unauthenticated',
      status: 401,
    })
    const refused = unwrap(clientOf().client.v1.payments.$post({ json: { to: '' } }))
    await expect(refused).rejects.toMatchObject({ code: 'invalid_request', errors: [{ pointer: '/to' }] })
  })

  it('throws a problem also when something else than the node answers', async () => {
    for (const body of ['<html>bad gateway</html>', '{"code":"made_up","detail":"x"}', 'null']) {
      const answer = Promise.resolve(new Response(body, { status: 502 }))
      const error: unknown = await unwrap(answer).catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(Problem)
      expect(error).toMatchObject({ code: 'internal', message: 'HTTP 502, without an answer of the wallet API' })
    }
  })
})
