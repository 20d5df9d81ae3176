import 'reflect-metadata'
import { Body, Controller, HttpCode, Inject, Injectable, Module, Post } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import type { Outcome, Pipeline } from 'holdfast'
import { ORDERS, ordersPipeline, type Order } from './orders.ts'

@Injectable()
class Barista {
  private calls = 0

  async brew(order: Order): Promise<void> {
    if (++this.calls === 1) throw new Error('the machine is cold')
    console.log(`  brewed ${order.cups} for ${order.id}`)
  }
}

@Controller('orders')
class OrdersController {
  private readonly orders: Pipeline<Order>

  constructor(@Inject(ORDERS) orders: Pipeline<Order>) {
    this.orders = orders
  }

  @Post()
  @HttpCode(200)
  async place(@Body() order: Order): Promise<{ outcome: Outcome }> {
    return { outcome: await this.orders.dispatch({ message: { id: order.id, body: order } }) }
  }
}

@Module({
  controllers: [OrdersController],
  providers: [Barista, { provide: ORDERS, useFactory: ordersPipeline, inject: [Barista] }],
})
class CafeModule {}

const app = await NestFactory.create(CafeModule, { logger: false })
await app.listen(0, '127.0.0.1')

async function post(what: string, order: Order): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${await app.getUrl()}/orders`, { method: 'POST', headers, body: JSON.stringify(order) })
  console.log(`${what}: ${answer.status} ${await answer.text()}`)
}

await post('an order', { id: 'order-1', cups: 2 })
await post('the same order again', { id: 'order-1', cups: 2 })
await app.close()
