// GroupSet: the groups that VfioDevice.open() opens itself. Each is opened once, and closed with the last of its
// devices.
import type { Iommufd } from '../iommufd/iommufd';
import type { Kernel } from '../kernel/kernel';
import { VfioContainer } from './container';
import { VfioGroup } from './group';

/** A device's reference to a group. @internal */
export interface GroupUse {
  group: VfioGroup;
  /** Releases the reference after the device was closed. */
  release(): void;
  releaseLater(): Promise<void>;
}

interface Entry {
  group: VfioGroup;
  users: number;
}

/** A reference to a group that the caller opened. Releasing it does not close the group. @internal */
export function useOfCaller(group: VfioGroup): GroupUse {
  return { group, release: () => undefined, releaseLater: () => Promise.resolve() };
}

/** A reference whose release also closes the container. @internal */
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

/** The groups of one container or iommufd. */
class GroupSet {
  readonly #holder: VfioContainer | Iommufd;
  readonly #entries = new Map<number, Entry>();
  /** Joins run one after the other. Concurrent joins would open the same group twice. */
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

  /**
   * Returns a reference to a group that is in the container or iommufd already. If the caller added it, the caller
   * still owns it.
   */
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
    /** Returns whether this was the last reference. */
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
        // A group that is being closed waits for this device. Waiting for it here would be a deadlock.
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
