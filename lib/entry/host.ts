// The exports of vfio-dmabuf that examine and record a host.
import '../addon/runtime'; // first
import './given';

export { examineHost, type DoctorOptions, type Finding, type HostReport } from '../host/doctor';
export { recordHost, type RecordedHost, type RecordOptions } from '../host/record';
