// Fault queues: page requests from devices, and responses to them.
import { data, shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { native, type FaultQueueHandle, type FdHandle } from '../addon/native';
import { integer, oneOf, fields } from '../errors/validate';
import { EventQueue } from './event-queue';
import { owned } from './object';

/** A device's request for access to a page that is not mapped. */
export interface PageRequest {
  address: bigint;
  read: boolean;
  write: boolean;
  /** The device requests permission to execute. */
  execute: boolean;
  /** The request is made in privileged mode. */
  privileged: boolean;
  /** How many bytes from `address` on the device is going to access. 0: not specified. */
  length: number;
}

/** Page requests that a device makes together. They have one response. */
export interface PageRequestGroup {
  /** The device's object ID in the iommufd. */
  device: number;
  /** The PASID of the request. Undefined: the request has none. */
  pasid: number | undefined;
  /** The device's page request group index. */
  group: number;
  requests: PageRequest[];
  /** The kernel's cookie for the group, which the response carries. */
  cookie: number;
}

/** 'success': the pages are mapped now, and the device repeats the access. 'invalid': the access fails. */
export type PageResponse = 'success' | 'invalid';

// linux/iommufd.h: IOMMUFD_PAGE_RESP_*, IOMMU_PGFAULT_*, struct iommu_hwpt_pgfault, struct iommu_hwpt_page_response
const responses = ['success', 'invalid'] as const satisfies readonly PageResponse[];
const flag = { pasid: 1, last: 2 } as const;
const wants = { read: 1, write: 2, execute: 4, privileged: 8 } as const;
const requestSize = 40;
/** The most requests per read. A group must fit: PCI allows a device 512 outstanding requests. */
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
      group = data({ device: word(1), pasid, group: word(3), requests: [], cookie: word(9) });
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
 * A fault queue. Devices that are attached to page tables of the queue ({@link HwptOptions.faultQueue}) request pages
 * that are not mapped, and user space responds. When a device is detached, the kernel responds 'invalid' to its open
 * requests. Closing the queue closes these page tables and detaches their devices.
 */
export class FaultQueue extends EventQueue<PageRequestGroup> {
  readonly iommufd: Parents['Iommufd'];
  readonly #handle: FaultQueueHandle;

  static {
    shown(this, 'closed', 'id');
  }

  /** @internal */
  constructor(made: Key, iommufd: Parents['Iommufd'], handle: FaultQueueHandle) {
    onlyInside(made, 'FaultQueue', 'use Iommufd#allocFaultQueue()');
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
   * Responds to a group of requests that was read from this queue.
   *
   * @throws KernelError EINVAL: the group has a response already, or its device is detached.
   */
  respond(group: Pick<PageRequestGroup, 'cookie'>, response: PageResponse): void {
    const { file } = this;
    const cookie = integer(fields(group, 'group').cookie, 'group.cookie', 0, 0xffff_ffff);
    const code = responses.indexOf(oneOf(response, 'response', responses));
    const bytes = new Uint8Array(Uint32Array.of(cookie, code).buffer);
    kernelCall({ pageRequestCookie: cookie }, () => native.fdWrite(file, bytes, false));
  }
}
