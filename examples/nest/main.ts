import 'reflect-metadata'
import { Body, Controller, Get, HttpCode, Inject, Injectable, Module, Post } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { outgoing, type Delivery, type Outcome } from 'holdfast'
import { memoryBroker, memoryConsumer } from 'holdfast/memory'
import {
  handledBy,
  Handles,
  Holdfast,
  HoldfastHealthIndicator,
  HoldfastModule,
  type IndicatorResult,
} from 'holdfast/nest'
import { Orders, ordersStack, type Order } from './orders.ts'

@Injectable()
class Barista {
  private calls = 0

  @Handles(Orders)
  async brew({ message }: Delivery<Order>): Promise<void> {
    if (++this.calls === 1) throw new Error('the machine is cold')
    console.log(`  brewed ${message.body.cups} for ${message.body.id}`)
  }
}

@Controller()
class OrdersController {
  private readonly holdfast: Holdfast
  private readonly health: HoldfastHealthIndicator

  constructor(@Inject(Holdfast) holdfast: Holdfast, @Inject(HoldfastHealthIndicator) health: HoldfastHealthIndicator) {
    this.holdfast = holdfast
    this.health = health
  }

  @Post('orders')
  @HttpCode(200)
  async place(@Body() order: Order): Promise<{ outcome: Outcome }> {
    const message = { id: order.id, body: Buffer.from(JSON.stringify(order)) }
    return { outcome: await this.holdfast.pipeline(Orders).dispatch({ message }) }
  }

  @Get('health')
  ready(): IndicatorResult {
    return this.health.ready()
  }
}

// Stands for Kafka, or another broker.
const broker = memoryBroker()

@Module({
  controllers: [OrdersController],
  providers: [Barista],
  imports: [
    HoldfastModule.forRoot({
      pipelines: [handledBy(Orders, ordersStack())],
      run: (holdfast) => [
        memoryConsumer({ broker, groupId: 'cafe', topics: ['orders'], pipeline: holdfast.pipeline(Orders) }),
      ],
    }),
  ],
})
class CafeModule {}

const app = await NestFactory.create(CafeModule, { logger: false })
await app.listen(0, '127.0.0.1')
const url = await app.getUrl()

async function post(what: string, order: Order): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${url}/orders`, { method: 'POST', headers, body: JSON.stringify(order) })
  console.log(`${what}: ${answer.status} ${await answer.text()}`)
}

await post('an order', { id: 'order-1', cups: 2 })
await post('the same order again', { id: 'order-1', cups: 2 })
const order = { id: 'order-2', cups: 3 }
await broker
  .publisher()
  .publish([outgoing({ id: order.id, destination: 'orders', body: Buffer.from(JSON.stringify(order)) })])
// The consumer finishes what it has before the application ends.
while (broker.lag('cafe', 'orders') > 0) await new Promise((resolve) => setTimeout(resolve, 5))
console.log(`health: ${await (await fetch(`${url}/health`)).text()}`)
await app.close()
