// One round of the fuzzer: calls with modified arguments, and the checks after them.
import { readdirSync, fstatSync, readlinkSync } from 'node:fs';
import { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { types } from 'node:util';
import { defaultKernel, DmaMemory } from '../../../lib';
import { classOf, onlyValid, validCalls, type Fixture } from './fixture';
import type { Log } from './log';
import type { Random } from './random';
import { exported, optionNames, type Member, type Surface } from './surface';
import { any, optionsObject, primitive, type Sample } from './values';
import { complaint } from './verdict';

const patience = 5000; // milliseconds until a promise must settle after everything is closed
const mostMemory = 1 << 24; // mapping more would pin too much

/**
 * The files that the library opened, by inode, with the names from the fake kernel. BARs belong to a kernel and are
 * left out.
 */
function openFiles(): Map<number, string> {
  const files = new Map<number, string>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const name = readlinkSync(`/proc/self/fd/${fd}`);
      if (name.startsWith('/memfd:') && !name.startsWith('/memfd:fake-bar')) files.set(fstatSync(Number(fd)).ino, name);
    } catch {
      // This is the fd of the directory listing.
    }
  }
  return files;
}

/** Makes some calls on objects of its own. */
export class Round {
  readonly #random: Random;
  readonly #surface: Surface;
  readonly #log: Log;
  readonly #wild: boolean;
  readonly #openBefore = openFiles();
  readonly #fixture: Fixture;
  readonly #members: Member[];
  readonly #pending: Promise<void>[] = [];
  readonly #streams: (Readable | Writable)[] = [];

  /**
   * @param wild also calls internal functions and writes properties that the types declare read-only. Then the only
   * requirement is that nothing crashes.
   */
  constructor(random: Random, surface: Surface, fixture: Fixture, log: Log, wild: boolean) {
    this.#random = random;
    this.#surface = surface;
    this.#fixture = fixture;
    this.#log = log;
    this.#wild = wild;
    for (const { label, value } of [...this.#fixture.samples]) {
      for (const inner of surface.learn(value)) this.#keep(`${label}.…`, inner, false);
    }
    this.#members = surface.members.flatMap((member) => {
      if (member.kind === 'internal' && !wild) return [];
      // Calls that close objects or create kernels are rare, so that enough open objects remain.
      const rare = /close|destroy|dispose|forget|gone|release|^new FakeKernel|^defaultKernel/i.test(member.id);
      return Array.from({ length: rare ? 1 : 8 }, () => member);
    });
  }

  /** Keeps an object that a call returned, to use it in other calls and to close it. */
  #keep(label: string, value: unknown, forged: boolean): void {
    if (value instanceof Readable || value instanceof Writable) this.#streams.push(value);
    if (Array.isArray(value)) for (const item of value.slice(0, 4) as unknown[]) this.#keep(label, item, forged);
    if (
      !this.#surface.isOurs(value) ||
      value === defaultKernel() ||
      this.#fixture.samples.some((sample) => sample.value === value)
    )
      return;
    if (value instanceof DmaMemory && value.size > mostMemory) {
      this.#fixture.closeQuietly(value);
      return;
    }
    this.#fixture.add(label, value, forged);
    if (!forged) for (const inner of this.#surface.learn(value)) this.#keep(`${label}.…`, inner, forged);
  }

  #receiver(member: Member): Sample {
    const [random, fixture] = [this.#random, this.#fixture];
    if (!member.ofInstance && random.percent(90)) return { label: '', value: exported(member.owner) };
    if (member.ofInstance && random.percent(85)) return fixture.instance(member.owner ?? '', random);
    return random.percent(60) ? fixture.any(random) : any(random, fixture, optionNames);
  }

  #valid(member: Member): Sample[] | undefined {
    try {
      return validCalls[member.id]?.(this.#fixture.objects, this.#random).map((value) => this.#fixture.describe(value));
    } catch {
      return undefined; // an object that it needs is closed
    }
  }

  #arguments(member: Member): Sample[] {
    const [random, fixture] = [this.#random, this.#fixture];
    if (onlyValid.has(member.id)) return this.#valid(member) ?? [];
    const wild = () => (random.percent(25) ? optionsObject : any)(random, fixture, optionNames);
    const args = random.percent(55) ? this.#valid(member) : undefined;
    if (!args) return Array.from({ length: random.below(4) }, wild);
    if (random.percent(35)) return args;
    const at = random.below(args.length + 1);
    return [...args.slice(0, at), random.percent(40) ? primitive(random) : wild(), ...args.slice(at + 1)];
  }

  /** Makes one call. */
  async step(): Promise<void> {
    if (this.#wild && this.#random.percent(10)) {
      this.#write();
      return;
    }
    const member = this.#random.pick(this.#members);
    const receiver = this.#receiver(member);
    const args = this.#arguments(member);
    const where = `${member.id}(${args.map(({ label }) => label).join(', ')}) on ${receiver.label}`;
    this.#log.note(where);
    const genuine =
      !member.ofInstance || (this.#surface.isOurs(receiver.value) && classOf(receiver.value) === member.owner);
    const strict = genuine && member.kind === 'checked' && ![receiver, ...args].some(({ forged }) => forged === true);
    const succeed = (value: unknown) => {
      this.#log.report.succeeded += 1;
      this.#keep(`a result of ${member.id}`, value, !strict);
    };
    const reject = (error: unknown) => {
      this.#log.report.rejected += 1;
      const what = this.#wild ? undefined : complaint(error, strict);
      if (what !== undefined) this.#log.fail(what, `${member.id} ${(error as Error).name}`, where);
    };
    try {
      const result = member.call(
        receiver.value,
        args.map(({ value }) => value),
      );
      if (!types.isPromise(result)) {
        succeed(result);
        return;
      }
      const settled = result.then(succeed, reject);
      this.#pending.push(settled);
      // Other calls overlap with the rest.
      if (this.#random.percent(50)) await Promise.race([settled, sleep(20)]);
    } catch (error) {
      reject(error);
    }
  }

  /** Writes a property that the types declare read-only. */
  #write(): void {
    const victim = this.#fixture.any(this.#random);
    const keys = Reflect.ownKeys(victim.value);
    if (keys.length === 0) return;
    const key = this.#random.pick(keys);
    const { label, value } = any(this.#random, this.#fixture, optionNames);
    this.#log.note(`${victim.label}.${String(key)} = ${label}`);
    try {
      Reflect.defineProperty(victim.value, key, { value, configurable: true, writable: true });
    } catch {
      // A proxy's trap threw.
    }
  }

  /** Files that were not open before. */
  #left(): string[] {
    return [...openFiles()].filter(([inode]) => !this.#openBefore.has(inode)).map(([, file]) => file);
  }

  /** Closes everything. This must end all calls under way and leave nothing open. */
  async end(name: string): Promise<void> {
    this.#log.note(`the end of ${name}`);
    this.#fixture.close();
    const all = Promise.all(this.#pending).then(() => true);
    const timer = new AbortController();
    // The timer keeps the process alive while promises are pending.
    const late = sleep(patience, false, { signal: timer.signal }).catch(() => false);
    const settled = await Promise.race([all, late]);
    timer.abort();
    this.#fixture.close(); // objects that the last promises resolved to
    for (const stream of this.#streams) stream.on('error', () => undefined).destroy(); // may belong to another kernel
    if (this.#wild) return;
    if (!settled) this.#log.fail('a promise never settles', 'settles');
    // Files of calls that were under way are closed later, on a pool thread.
    const deadline = Date.now() + patience;
    let left = this.#left();
    while (left.length > 0 && Date.now() < deadline) {
      await sleep(1);
      left = this.#left();
    }
    if (left.length > 0) this.#log.fail(`stay open: ${left.join(', ')}`, 'open');
  }
}
