// Fault queues: page requests of devices, and the answers to them.
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { native, type FaultQueueHandle, type FdHandle } from '../addon/native';
import { integer, oneOf, options } from '../errors/validate';
import { EventQueue } from './event-queue';
import { owned } from './object';

/** A page that a device wants to reach, and for what. */
export interface PageRequest {
  address: bigint;
  read: boolean;
  write: boolean;
  /** The device wants to execute what is there. */
  execute: boolean;
  /** The device asks in privileged mode. */
  privileged: boolean;
  /** How many bytes from there on it is going to want; 0: it does not say. */
  length: number;
}

/** Page requests that a device makes together, and that have one response. */
export interface PageRequestGroup {
  /** The device's number in the iommufd. */
  device: number;
  /** The address space that the device means; undefined: its only one. */
  pasid: number | undefined;
  /** The device's own number for the group. */
  group: number;
  requests: PageRequest[];
  /** By what it is answered: the kernel's number for it, until then. */
  cookie: number;
}

/** 'success': the pages are there now, the device tries again. 'invalid': it does not. */
export type PageResponse = 'success' | 'invalid';

// linux/iommufd.h: IOMMUFD_PAGE_RESP_*, IOMMU_PGFAULT_*, struct iommu_hwpt_pgfault, struct iommu_hwpt_page_response
const responses = ['success', 'invalid'] as const satisfies readonly PageResponse[];
const flag = { pasid: 1, last: 2 } as const;
const wants = { read: 1, write: 2, execute: 4, privileged: 8 } as const;
const requestSize = 40;
/** In one reading. A group must fit: PCI allows a device 512 requests under way. */
const most = 512;

function decode(bytes: Uint8Array): PageRequestGroup[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const groups: PageRequestGroup[] = [];
  let group: PageRequestGroup | undefined;
  for (let at = 0; at < bytes.byteLength; at += requestSize) {
    const word = (index: number) => view.getUint32(at + 4 * index, true);
    const [flags, permissions] = [word(0), word(4)];
    if (!group) {
      const pasid = flags & flag.pasid ? word(2) : undefined;
      group = { device: word(1), pasid, group: word(3), requests: [], cookie: word(9) };
      groups.push(group);
    }
    group.requests.push({
      address: view.getBigUint64(at + 24, true),
      read: (permissions & wants.read) !== 0,
      write: (permissions & wants.write) !== 0,
      execute: (permissions & wants.execute) !== 0,
      privileged: (permissions & wants.privileged) !== 0,
      length: word(8),
    });
    if (flags & flag.last) group = undefined;
  }
  return groups;
}

/**
 * A fault queue: where devices on the page tables that are made with it ({@link HwptOptions.faultQueue}) ask for pages that
 * are not mapped, and are answered. What is not answered by the time the device is detached, the kernel answers as
 * 'invalid'. Closing the queue closes those page tables, and detaches their devices.
 */
export class FaultQueue extends EventQueue<PageRequestGroup> {
  readonly iommufd: Parents['Iommufd'];
  readonly #handle: FaultQueueHandle;

  /** @internal */
  constructor(iommufd: Parents['Iommufd'], handle: FaultQueueHandle) {
    super('fault queue', owned(native.faultQueue, handle), native.faultQueueFile(handle), [iommufd]);
    this.iommufd = iommufd;
    this.#handle = handle;
  }

  /** @internal */
  get handle(): FaultQueueHandle {
    this.check();
    return this.#handle;
  }

  /** @internal */
  protected take(file: FdHandle): PageRequestGroup[] {
    return decode(native.fdRead(file, most * requestSize, false));
  }

  /**
   * Answers a group of requests that was read from this queue.
   *
   * @throws KernelError EINVAL: it is answered already, or its device is detached.
   */
  respond(group: Pick<PageRequestGroup, 'cookie'>, response: PageResponse): void {
    const { file } = this;
    const cookie = integer(options(group, 'group').cookie, 'group.cookie', 0, 0xffff_ffff);
    const code = responses.indexOf(oneOf(response, 'response', responses));
    const bytes = new Uint8Array(Uint32Array.of(cookie, code).buffer);
    kernelCall({ pageRequestCookie: cookie }, () => native.fdWrite(file, bytes, false));
  }
}
