// The groups that VfioDevice.open() opens by itself: each once for all devices of it, and closed with the last.
import type { Iommufd } from '../iommufd/iommufd';
import type { Kernel } from '../kernel/kernel';
import { VfioContainer } from './container';
import { VfioGroup } from './group';

/** A device's use of a group. @internal */
export interface GroupUse {
  group: VfioGroup;
  /** The device is closed. */
  release(): void;
  releaseLater(): Promise<void>;
}

interface Entry {
  group: VfioGroup;
  users: number;
}

/** A group that stays its opener's. @internal */
export function useOfCaller(group: VfioGroup): GroupUse {
  return { group, release: () => undefined, releaseLater: () => Promise.resolve() };
}

/** A use with which a container ends. @internal */
export function closingWith(container: VfioContainer, use: GroupUse): GroupUse {
  return {
    group: use.group,
    release: () => {
      use.release();
      container.close();
    },
    releaseLater: async () => {
      await use.releaseLater();
      if (!container.closed) await container[Symbol.asyncDispose]();
    },
  };
}

/** Of one container or iommufd. */
class GroupSet {
  readonly #holder: VfioContainer | Iommufd;
  readonly #entries = new Map<number, Entry>();
  /** Joining is one step after the other: what one finds undone, another would do, too. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(holder: VfioContainer | Iommufd) {
    this.#holder = holder;
  }

  join(kernel: Kernel, number: number): Promise<GroupUse> {
    const step = this.#last.then(async () => {
      const known = this.#known(number);
      if (known) return known;
      const group = VfioGroup.open(number, { kernel });
      try {
        await group.setContainer(this.#holder);
        if (this.#holder instanceof VfioContainer) await this.#holder.ready();
      } catch (error) {
        group.close();
        throw error;
      }
      return this.#add(group);
    });
    this.#last = step.catch(() => undefined);
    return step;
  }

  joinSync(kernel: Kernel, number: number): GroupUse {
    const known = this.#known(number);
    if (known) return known;
    const group = VfioGroup.open(number, { kernel });
    try {
      group.setContainerSync(this.#holder);
      if (this.#holder instanceof VfioContainer) this.#holder.readySync();
    } catch (error) {
      group.close();
      throw error;
    }
    return this.#add(group);
  }

  /** A group that is there already: opened here, or put there by the caller, whose it stays. */
  #known(number: number): GroupUse | undefined {
    const entry = this.#entries.get(number);
    if (entry && !entry.group.closed && entry.group.container === this.#holder) return this.#use(entry);
    const group = VfioGroup.inUse(this.#holder).find((candidate) => candidate.number === number);
    return group && useOfCaller(group);
  }

  #add(group: VfioGroup): GroupUse {
    const entry = { group, users: 0 };
    this.#entries.set(group.number, entry);
    return this.#use(entry);
  }

  #use(entry: Entry): GroupUse {
    entry.users += 1;
    /** Whether that was the last. */
    const leave = () => {
      entry.users -= 1;
      if (entry.users > 0) return false;
      if (this.#entries.get(entry.group.number) === entry) this.#entries.delete(entry.group.number);
      return true;
    };
    return {
      group: entry.group,
      release: () => {
        if (leave()) entry.group.close();
      },
      releaseLater: async () => {
        // One that is being closed is waiting for the device.
        if (leave() && !entry.group.closed) await entry.group[Symbol.asyncDispose]();
      },
    };
  }
}

const sets = new WeakMap<VfioContainer | Iommufd, GroupSet>();

/** @internal */
export function groupSetOf(holder: VfioContainer | Iommufd): GroupSet {
  const known = sets.get(holder);
  if (known) return known;
  const made = new GroupSet(holder);
  sets.set(holder, made);
  return made;
}
