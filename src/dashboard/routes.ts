import { decisionRoutes } from './pages/decide.ts'
import { editRoutes } from './pages/edit.ts'
import { keyRoutes } from './pages/keys.ts'
import { laneRoutes } from './pages/lane.ts'
import { letterRoutes } from './pages/letter.ts'
import { letterListRoutes } from './pages/letters.ts'
import { logRoutes } from './pages/log.ts'
import { messageRoutes } from './pages/message.ts'
import { outboxRoutes } from './pages/outbox.ts'
import { overviewRoutes } from './pages/overview.ts'
import { newRedriveRoutes } from './pages/redrive-new.ts'
import { oneRedriveRoutes } from './pages/redrive.ts'
import { redriveRoutes } from './pages/redrives.ts'
import type { Route } from './visit.ts'

/** Every page, and every act. What is posted is an act: it needs an operator, and a form of ours. */
export const routes: readonly Route[] = [
  ...overviewRoutes,
  ...letterListRoutes,
  ...letterRoutes,
  ...decisionRoutes,
  ...editRoutes,
  ...redriveRoutes,
  ...newRedriveRoutes,
  ...oneRedriveRoutes,
  ...outboxRoutes,
  ...keyRoutes,
  ...laneRoutes,
  ...messageRoutes,
  ...logRoutes,
]
