export { platformaticKafkaPublisher, type KafkaProducer, type PlatformaticKafkaPublisherOptions } from './publisher.ts'
