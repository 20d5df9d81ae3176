export type { PlatformaticKafkaRecord, MessageId } from './codec.ts'
export { platformaticKafkaConsumer, type PlatformaticKafkaConsumerOptions } from './consumer.ts'
export { platformaticKafkaPublisher, type KafkaProducer, type PlatformaticKafkaPublisherOptions } from './publisher.ts'
export type { GroupProtocol } from './client.ts'
export type { KafkaConnectionOptions } from './wire.ts'
export {
  platformaticKafkaPromotion,
  platformaticKafkaReplay,
  type PlatformaticKafkaPromotionOptions,
  type PlatformaticKafkaReplayOptions,
} from './replay.ts'
export { features } from '../features.ts'
