export { type ResultCipher, type ResultName } from '../../core/result-cipher.ts'
export { type Answering } from './answer.ts'
export { remember, type Answered, type Remember, type RememberOptions } from './remember.ts'
export { type ResultStore } from './store.ts'
