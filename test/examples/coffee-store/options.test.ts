import { expect, it } from 'vitest'
import { optionsFrom } from '../../../examples/coffee-store/options.ts'

it('reads flags with their values behind them or after an equals sign, and servers without an address', () => {
  expect(optionsFrom([])).toMatchObject({ messages: 2000, seed: 42, naive: false, json: false, kafka: false })
  expect(optionsFrom(['--seed', '7', '--messages=300', '--json', '--naive'])).toMatchObject({
    seed: 7,
    messages: 300,
    json: true,
    naive: true,
  })
  expect(optionsFrom(['--kafka', '--postgres', 'postgres://127.0.0.1/x'])).toMatchObject({
    kafka: true,
    postgres: 'postgres://127.0.0.1/x',
  })
})

it.each([
  [['--foo'], 'there is no option --foo'],
  [['stray'], 'there is no option stray'],
  [['--messages'], '--messages takes an integer from 100 to 100000, got nothing'],
  [['--messages', '99'], '--messages takes an integer from 100 to 100000, got 99'],
  [['--seed', '1e3'], '--seed takes an integer from 0 to 4294967295, got 1e3'],
  [['--json=yes'], '--json takes no value, got yes'],
  [['--redis', 'localhost'], '--redis takes an address that begins with redis://'],
  [['--postgres=mysql://x'], '--postgres takes an address that begins with postgres://'],
  [['--nats', 'http://x'], '--nats takes an address that begins with nats://'],
  [['--nats', '--rabbitmq'], '--rabbitmq and --nats both carry the messages: take one of them'],
  [['--platformatic-kafka', '--kafka'], '--kafka and --platformatic-kafka both carry the messages: take one of them'],
  [['--once'], '--once needs --page'],
  [['--port', '0'], '--port needs --page'],
  [['--jaeger'], '--jaeger needs --page'],
  [['--page', '--nats'], '--page runs in memory, on --kafka and on --postgres, not on --nats'],
  [['--page', '--redis'], '--page runs in memory, on --kafka and on --postgres, not on --redis'],
  [['--page', '--messages', '300'], '--page sells for as long as it is open: leave out --messages'],
  [['--page', '--port', '70000'], '--port takes an integer from 0 to 65535, got 70000'],
  [['--redis', '--postgres'], '--redis and --postgres both keep the idempotency keys: take one of them'],
])('refuses %j', (args, message) => {
  expect(() => optionsFrom(args)).toThrow(message)
})
