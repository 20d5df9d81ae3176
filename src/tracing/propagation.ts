import {
  context,
  createContextKey,
  propagation,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  trace,
  type Context,
  type TextMapGetter,
  type TextMapPropagator,
  type TextMapSetter,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api'
import { headerText, withHeaders, type Headers } from '../core/message.ts'
import { having, list, type Kinds } from '../core/options.ts'

export interface PropagationOptions {
  /** Names of the baggage entries to keep. All others are dropped. @defaultValue none */
  readonly baggage?: readonly string[]
  /** Reads and writes the context in headers. @defaultValue the one registered with OpenTelemetry, mostly W3C */
  readonly propagator?: TextMapPropagator
  /** Makes the spans. @defaultValue the one registered with OpenTelemetry */
  readonly tracerProvider?: TracerProvider
}

/** What a room of spans needs of OpenTelemetry. */
export interface Propagation {
  readonly tracer: Tracer
  /** Without an SDK there is nothing to write, and nothing is done. */
  readonly idle: () => boolean
  /** The context that travels with the headers, on top of an empty one; without it, the empty one. */
  readonly extract: (headers: Headers) => Context
  /** The headers with the context in them. */
  readonly inject: (from: Context, headers: Headers) => Headers
}

// The W3C allows baggage no more than this, and no propagator writes longer values.
const longestHeader = 8192
const baggageHeader = 'baggage'

/** For the option checks of every stage that has these options. */
export const propagationKinds: Kinds<PropagationOptions> = {
  baggage: list,
  propagator: having('inject', 'extract', 'fields'),
  tracerProvider: having('getTracer'),
}

export function propagationOf({ baggage = [], propagator, tracerProvider }: PropagationOptions): Propagation {
  const allowed = new Set(baggage)
  const used = propagator ?? propagation
  const provider = tracerProvider ?? trace
  const getter: TextMapGetter<Headers> = {
    keys: (headers) => Object.keys(headers),
    get(headers, name) {
      if (name === baggageHeader && allowed.size === 0) return undefined
      const text = headerText(headers, name)
      return text === undefined || text.length > longestHeader ? undefined : text
    },
  }

  function admitted(of: Context): Context {
    const carried = propagation.getBaggage(of)
    if (carried === undefined) return of
    const entries = carried.getAllEntries().filter(([name]) => allowed.has(name))
    if (entries.length === 0) return propagation.deleteBaggage(of)
    return propagation.setBaggage(of, propagation.createBaggage(Object.fromEntries(entries)))
  }

  return {
    tracer: provider.getTracer('holdfast'),
    idle: () => tracerProvider === undefined && isUnregistered(trace.getTracerProvider()),
    extract(headers) {
      try {
        return admitted(used.extract(ROOT_CONTEXT, headers, getter))
      } catch {
        // A propagator of one's own may not like what a stranger sent: the message is worth more than its trace.
        return ROOT_CONTEXT
      }
    },
    inject(from, headers) {
      const carrier: Record<string, string> = {}
      try {
        used.inject(admitted(from), carrier, setter)
      } catch {
        return headers
      }
      return withHeaders(headers, carrier)
    },
  }
}

const setter: TextMapSetter<Record<string, string>> = {
  set(carrier, name, value) {
    carrier[name] = value
  },
}

const noDelegate = new ProxyTracerProvider().getDelegate()

function isUnregistered(provider: TracerProvider): boolean {
  return provider instanceof ProxyTracerProvider && provider.getDelegate() === noDelegate
}

// The SDK makes its key from this text, so that the API alone is enough to set it.
const suppressed = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')
const background = createContextKey('holdfast background')

/** Instrumentations and propagators stay silent in such a context. */
export function suppress(of: Context): Context {
  return of.setValue(suppressed, true)
}

/**
 * Runs background work without spans, such as a relay's polls or a consumer's fetches.
 * Deliveries under `tracing()` and publishes under `tracedPublish()` inside it are still traced.
 */
export function withoutTracing<T>(work: () => T): T {
  return context.with(suppress(ROOT_CONTEXT).setValue(background, true), work)
}

/** The context of the caller, or an empty one where the caller is a background loop. */
export function ambient(): Context {
  const active = context.active()
  return active.getValue(background) === true ? ROOT_CONTEXT : active
}
