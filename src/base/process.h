/* What the system knows about this process, as the process_* metrics and reports want it. Each is
 * NaN where the system does not say. Thread-safe. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

double process_cpu_seconds(void); /* user and system time of all threads */
double process_resident_bytes(void);
double process_open_files(void);
double process_start_time_seconds(void); /* since 1970-01-01T00:00:00Z */

#endif
