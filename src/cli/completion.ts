import type { Command, Flags } from './command.ts'
import { usage } from './exit.ts'

/** A script for the shell: `source <(holdfast completion bash)`. It knows commands and flags, and asks no database. */
export function completion(shell: string | undefined, commands: readonly Command[], common: Flags): string {
  const firsts = [...new Set(commands.map(({ name }) => name.split(' ')[0] ?? ''))]
  const cases = firsts.map((first) => {
    const seconds = commands
      .filter(({ name }) => name.startsWith(`${first} `))
      .map(({ name }) => name.slice(first.length + 1))
    return `    ${first}) words="${seconds.join(' ')}" ;;`
  })
  const flags = commands.map(
    ({ name, flags: own }) =>
      `    "${name}") flags="${Object.keys({ ...own, ...common })
        .map((flag) => `--${flag}`)
        .join(' ')}" ;;`,
  )
  const body = `_holdfast() {
  local current="\${COMP_WORDS[COMP_CWORD]}" first="\${COMP_WORDS[1]}" second="\${COMP_WORDS[2]}" words="" flags=""
  case "$first $second" in
${flags.filter((line) => line.includes(' ') && line.trimStart().split('"')[1]?.includes(' ')).join('\n')}
  esac
  [ -n "$flags" ] || case "$first" in
${flags.filter((line) => !(line.trimStart().split('"')[1] ?? '').includes(' ')).join('\n')}
  esac
  if [[ "$current" == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current")); return; fi
  if [ "$COMP_CWORD" -eq 1 ]; then words="${[...firsts, 'completion'].join(' ')}"
  elif [ "$COMP_CWORD" -eq 2 ]; then case "$first" in
${cases.join('\n')}
    completion) words="bash zsh" ;;
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _holdfast holdfast
`
  if (shell === 'bash') return body
  if (shell === 'zsh') return `autoload -U +X bashcompinit && bashcompinit\n${body}`
  throw usage('completion: say bash or zsh')
}
