import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import { nodeListener, operatorPage } from '../../dashboard/index.ts'
import type { Command, Context } from '../command.ts'
import { exits, Stop } from '../exit.ts'
import { numberFlag } from '../filters.ts'
import { jsonLine } from '../print.ts'

const ui: Command = {
  name: 'ui',
  summary: "serves the operator's page on this machine alone, until it is interrupted",
  flags: {
    port: { type: 'string', help: 'the port on 127.0.0.1, 7433 unless told; 0: any that is free' },
    'allow-acts': { type: 'boolean', help: 'lets the page redrive, edit, drop and unblock; else it is read-only' },
    'trace-url': { type: 'string', help: 'the address of a trace, with {trace} for its id' },
    zone: { type: 'string', help: 'the time zone of all times, UTC unless told' },
  },
  example: 'holdfast ui --allow-acts',
  async run(context) {
    const { values, ops, by, json, around } = context
    const token = randomBytes(32).toString('base64url')
    const readOnly = values['allow-acts'] !== true
    const page = operatorPage({
      store: ops.store,
      loopback: { token, name: by },
      readOnly,
      ...(typeof values['trace-url'] === 'string' && { traceUrl: values['trace-url'] }),
      ...(typeof values['zone'] === 'string' && { timeZone: values['zone'] }),
      onError: ({ reference, error }) => around.err(`${reference}: ${error instanceof Error ? error.message : ''}\n`),
    })
    const server = createServer(nodeListener(page))
    const port = await listening(server, context)
    const address = `http://127.0.0.1:${port}/?token=${token}`
    around.out(
      json
        ? `${jsonLine({ address, readOnly })}\n`
        : `${address}\n${readOnly ? 'read-only; --allow-acts lets it act' : `acts are written to the operator log as ${by}`}\nCtrl-C ends it\n`,
    )
    await interrupted(around.signal)
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    return exits.ok
  },
}

/** Nobody else can reach this address, even without a firewall. */
function listening(server: Server, context: Context): Promise<number> {
  const port = numberFlag(context, 'port', 0, 65_535) ?? 7433
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Stop(exits.unavailable, `port ${port} of this machine cannot be used: ${error.code ?? ''}; try --port 0`),
      ),
    )
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address !== null ? address.port : port)
    })
  })
}

function interrupted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

export const uiCommands: readonly Command[] = [ui]
