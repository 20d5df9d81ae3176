import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { canInstall, run } from './commands.ts'
import { withLock } from './lock.ts'
import { servicesDir } from './paths.ts'
import { Unavailable, type Progress } from './service.ts'

/** The servers, and the few programs that their start scripts call. */
const PACKAGES = ['rabbitmq-server', 'nats-server', 'dash', 'coreutils', 'sed', 'grep']

const DEVICES = [
  ['null', '3'],
  ['zero', '5'],
  ['urandom', '9'],
] as const

export const newerDebianRoot: string = join(servicesDir, 'debian-sid')

/**
 * A folder with the newest servers of Debian and all that they need, to be run with `chroot`.
 *
 * Nothing on the machine changes: the package lists, the downloads and the programs are in this one folder.
 */
export function newerDebian(progress: Progress): Promise<string> {
  const root = newerDebianRoot
  return withLock(
    join(servicesDir, 'debian-sid.lock'),
    async () => {
      if (!existsSync(root)) await unpack(root, progress)
      return root
    },
    () => progress('waiting for another command that unpacks it…'),
  )
}

async function unpack(root: string, progress: Progress): Promise<void> {
  if (!canInstall()) throw new Unavailable('Debian’s newest packages can be unpacked by root on Debian only')
  const partial = `${root}-${process.pid}`
  const apt = join(partial, 'apt')
  progress('fetching the newest packages of Debian into a folder…')
  try {
    for (const folder of ['lists/partial', 'cache/archives/partial'])
      await mkdir(join(apt, folder), { recursive: true })
    await writeFile(join(apt, 'sources.list'), await source())
    // An empty status file: nothing counts as installed, so that everything needed is fetched.
    await writeFile(join(apt, 'status'), '')
    await aptGet(apt, 'update')
    await aptGet(apt, 'install', '-y', '--no-install-recommends', '--download-only', ...PACKAGES)
    await layOut(partial)
    const archives = join(apt, 'cache/archives')
    for (const name of (await readdir(archives)).filter((file) => file.endsWith('.deb'))) {
      await run('sh', [
        '-c',
        'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink',
        'sh',
        join(archives, name),
        partial,
      ])
    }
    await rm(apt, { recursive: true, force: true })
    await rename(partial, root)
  } catch (cause) {
    await rm(partial, { recursive: true, force: true })
    throw new Unavailable('Debian’s newest packages could not be fetched', { cause })
  }
}

/** The newest Debian, from the mirror that this machine uses for its own. */
async function source(): Promise<string> {
  const targets = await run('apt-get', ['indextargets', '--format', '$(SITE) $(RELEASE)'])
  // Security and updates come from the same mirror, or from one that has nothing else.
  const own = targets.split('\n').find((line) => /^\S+ [a-z]+$/.test(line))
  if (own === undefined) throw new Unavailable('apt knows no mirror of Debian: run apt-get update')
  const [site] = own.split(' ')
  return `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${site} sid main\n`
}

/** What Debian's installer makes and no package brings. */
async function layOut(root: string): Promise<void> {
  for (const folder of ['usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64', 'etc', 'dev', 'tmp', 'srv']) {
    await mkdir(join(root, folder), { recursive: true })
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(root, name))
  await writeFile(join(root, 'etc/hosts'), '127.0.0.1 localhost\n')
  for (const [name, minor] of DEVICES) await run('mknod', ['-m', '666', join(root, 'dev', name), 'c', '1', minor])
}

async function aptGet(folder: string, ...args: readonly string[]): Promise<void> {
  const settings = [
    `Dir::Etc::SourceList=${folder}/sources.list`,
    'Dir::Etc::SourceParts=/dev/null',
    `Dir::State::Lists=${folder}/lists`,
    `Dir::State::status=${folder}/status`,
    `Dir::Cache=${folder}/cache`,
    'Debug::NoLocking=1',
  ]
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await run('apt-get', ['-qq', ...settings.flatMap((setting) => ['-o', setting]), ...args], { env })
}
