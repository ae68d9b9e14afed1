// Records this host and writes recorded hosts, as `vfio-dmabuf record` and `--root` do.
export { recordHost } from '../../lib/host/record';
export { writeRecorded, type RecordedHost } from '../../lib/kernel/recorded';
