/** Seeds outside of the usual range that found something, and what it was. They always run. */
export interface Case {
  readonly seed: number
  /** More of them than usual. */
  readonly actions?: number
  readonly found: string
}

export const CASES: readonly Case[] = [
  { seed: 487, found: 'updates of a channel that closes were out of order once a reorganisation had made its funding shallow' },
  {
    seed: 1028,
    actions: 250,
    found: 'a claim was bid anew after a reorganisation, and the funding that spent its proceeds was lost',
  },
  {
    seed: 1021,
    actions: 250,
    found: 'a funding whose coins came from a commitment that a reorganisation replaced left its channel in opening for ever',
  },
]
