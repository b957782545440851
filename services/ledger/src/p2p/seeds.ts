/** Names under which nodes of the public networks are found, when the address book is empty. Bitcoin Core kernel/chainparams.cpp. */
const SEEDS: Readonly<Record<string, readonly string[]>> = {
  mainnet: [
    'seed.bitcoin.sipa.be',
    'dnsseed.bluematt.me',
    'seed.bitcoin.jonasschnelli.ch',
    'seed.btc.petertodd.net',
    'seed.bitcoin.sprovoost.nl',
    'dnsseed.emzy.de',
    'seed.bitcoin.wiz.biz',
    'seed.mainnet.achownodes.xyz',
  ],
  testnet4: ['seed.testnet4.bitcoin.sprovoost.nl', 'seed.testnet4.wiz.biz'],
  signet: ['seed.signet.bitcoin.sprovoost.nl', 'seed.signet.achownodes.xyz'],
}

/** None for networks of one's own. */
export const seedsOf = (network: string): readonly string[] => (Object.hasOwn(SEEDS, network) ? (SEEDS[network] ?? []) : [])
