// Drives an ldk-peer.mjs process from JavaScript: `cmd()` for commands, `event()` to wait for events.
import { spawn } from 'node:child_process'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

const PEER = fileURLToPath(new URL('./ldk-peer.mjs', import.meta.url))

export class LdkPeer {
  /** args: extra command-line arguments; stderr: 'inherit' | 'ignore' | a file descriptor */
  static async start({
    rpc,
    name = 'ldk',
    seed = name,
    listen = '127.0.0.1:0',
    args = [],
    nodeArgs = [],
    stderr = 'inherit',
    onEvent = null,
  }) {
    const p = new LdkPeer()
    p.name = name
    p.onEvent = onEvent
    p.seen = []
    p.waiting = []
    p.calls = new Map()
    p.nextId = 1
    p.exited = false
    p.child = spawn(
      process.execPath,
      [...nodeArgs, PEER, '--rpc', rpc, '--listen', listen, '--seed', seed, '--alias', name, ...args],
      { stdio: ['pipe', 'pipe', stderr] },
    )
    p.done = new Promise((resolve) =>
      p.child.on('exit', (code, signal) => {
        p.exited = true
        const e = new Error(`${name} exited (${code ?? signal})`)
        for (const c of p.calls.values()) c.reject(e)
        for (const w of p.waiting) {
          clearTimeout(w.timer)
          w.reject(e)
        }
        resolve(code)
      }),
    )
    readline.createInterface({ input: p.child.stdout }).on('line', (l) => p.#line(l))
    p.ready = await p.event('ready', null, 30000)
    p.nodeId = p.ready.nodeId
    p.port = p.ready.port
    return p
  }
  #line(l) {
    let m
    try {
      m = JSON.parse(l)
    } catch {
      console.error(`${this.name}: not JSON on stdout: ${l}`)
      return
    }
    if (m.event) {
      this.onEvent?.(m)
      const i = this.waiting.findIndex((w) => w.name === m.event && (!w.pred || w.pred(m)))
      if (i >= 0) {
        const [w] = this.waiting.splice(i, 1)
        clearTimeout(w.timer)
        w.resolve(m)
      } else {
        this.seen.push(m)
        if (this.seen.length > 10000) this.seen.shift()
      }
    } else {
      const c = this.calls.get(m.id)
      if (!c) return
      this.calls.delete(m.id)
      'error' in m ? c.reject(new Error(`${this.name} ${c.cmd}: ${m.error}`)) : c.resolve(m.result)
    }
  }
  cmd(cmd, args = {}) {
    if (this.exited) return Promise.reject(new Error(`${this.name} has exited`))
    const id = this.nextId++
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject, cmd })
      this.child.stdin.write(JSON.stringify({ id, cmd, ...args }) + '\n')
    })
  }
  /** The first event of this name that matches and was not yet taken: one already seen, or the next to come. */
  event(name, pred = null, timeoutMs = 30000) {
    const i = this.seen.findIndex((m) => m.event === name && (!pred || pred(m)))
    if (i >= 0) return Promise.resolve(this.seen.splice(i, 1)[0])
    return new Promise((resolve, reject) => {
      const w = { name, pred, resolve, reject }
      w.timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(w), 1)
        reject(
          new Error(
            `${this.name}: no ${name} in ${timeoutMs} ms; last events: ${this.seen
              .slice(-5)
              .map((m) => JSON.stringify(m).slice(0, 200))
              .join(' ')}`,
          ),
        )
      }, timeoutMs)
      this.waiting.push(w)
    })
  }
  /** Like event(), but only among those already seen: the event, or null. */
  take(name, pred = null) {
    const i = this.seen.findIndex((m) => m.event === name && (!pred || pred(m)))
    return i >= 0 ? this.seen.splice(i, 1)[0] : null
  }
  async stop() {
    if (this.exited) return
    this.child.stdin.end(`${JSON.stringify({ id: 0, cmd: 'stop' })}\n`)
    const t = setTimeout(() => this.child.kill('SIGKILL'), 5000)
    await this.done
    clearTimeout(t)
  }
}
