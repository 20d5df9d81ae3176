import { dirname, join } from 'node:path'
import { javaPrograms, versionIn, type JavaPrograms } from './java.ts'
import type { Progress } from './service.ts'

const POM = join(import.meta.dirname, 'kafka/pom.xml')

export interface KafkaPrograms extends JavaPrograms {
  readonly keytool: string
}

/** Kafka's version, as the list of jars names it. */
export function kafkaVersion(): string {
  return versionIn(POM, 'kafka.version')
}

/** Finds Java and Kafka's jars; fetches what is missing. */
export async function kafkaPrograms(progress: Progress): Promise<KafkaPrograms> {
  const jars = { name: 'kafka', title: `Kafka ${kafkaVersion()}`, pom: POM }
  const programs = await javaPrograms(jars, progress)
  return { ...programs, keytool: join(dirname(programs.java), 'keytool') }
}
