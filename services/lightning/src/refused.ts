/** Asked for in vain. `code` is of a wallet's or channel's refusal, or the peer's own words. */
export class Refused extends Error {
  readonly code: string
  readonly data: Readonly<Record<string, unknown>>
  constructor(code: string, detail: string, data: Readonly<Record<string, unknown>> = {}) {
    super(detail)
    this.name = 'Refused'
    this.code = code
    this.data = data
  }
}
