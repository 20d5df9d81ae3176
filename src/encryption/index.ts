export { decrypt, type DecryptOptions } from './decrypt.ts'
export { encrypt, type EncryptOptions } from './encrypt.ts'
export { fixedKeys, type EncryptionKey, type KeyProvider } from './keys.ts'
export { resultCipher, type ResultCipherOptions } from './result-cipher.ts'
