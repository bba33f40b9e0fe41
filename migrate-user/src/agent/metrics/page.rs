//! Readings as OpenMetrics text.

use super::moves::Moves;
use super::readings::{Readings, State};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;

/// The content type of a page.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The whole page.
pub(super) fn render(readings: Readings, moves: &Moves) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(readings));
    moves.register(&mut registry);
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a string takes whatever is written");
    page
}

type Exemplar = prometheus_client::metrics::exemplar::Exemplar<NoLabelSet, f64>;

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    /// A counter; OpenMetrics puts `_total` behind its name.
    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_counter(&value, None::<&Exemplar>)?;
        }
        Ok(())
    }

    /// One without labels.
    fn counter<V: EncodeCounterValue>(&mut self, name: &str, unit: Option<Unit>, help: &str, value: Option<V>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        value.map_or(Ok(()), |value| metric.encode_counter(&value, None::<&Exemplar>))
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// One without labels.
    fn gauge<V: EncodeGaugeValue>(&mut self, name: &str, unit: Option<Unit>, help: &str, value: V) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    }
}

const BYTES: Option<Unit> = Some(Unit::Bytes);
const SECONDS: Option<Unit> = Some(Unit::Seconds);

impl Collector for Readings {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Writer(encoder);
        self.agent(&mut page)?;
        self.recorder(&mut page)?;
        self.ring(&mut page)?;
        self.logs(&mut page)?;
        self.process(&mut page)
    }
}

impl Readings {
    fn agent(&self, page: &mut Writer<'_>) -> fmt::Result {
        let labels = [("version", self.version.as_str()), ("kernel_release", self.kernel_release.as_str())];
        page.gauges("migrate_build_info", None, "Always 1: what runs", [(labels, 1u64)])?;
        let states = State::ALL.iter().map(|state| {
            let count = self.states.iter().find(|(known, _)| known == state).map_or(0, |(_, count)| *count);
            ([("state", state.name())], count)
        });
        page.gauges("migrate_containers", None, "Containers that were started with the runtime, by what they are now", states)?;
        page.gauge("migrate_migrations_in_progress", None, "Moves from this host that are under way", self.moving)
    }

    fn recorder(&self, page: &mut Writer<'_>) -> fmt::Result {
        let lost = self.lost.iter().flat_map(|lost| {
            [("ring_full", lost.ring_full), ("too_large", lost.too_large), ("fault", lost.faults)]
                .map(|(reason, count)| ([("reason", reason)], count))
        });
        page.counters("migrate_recorder_lost_records", None, "Records that are missing from logs; each one ends a log", lost)?;
        let help = "Program runs that the kernel skipped; each may have lost a record of any container";
        page.counter("migrate_recorder_missed_runs", None, help, self.missed_runs)?;
        let records = self.recorded.iter().map(|container| (names(container), container.emitted));
        page.counters("migrate_recorder_records", None, "Records that the programs put into the ring", records)?;
        let bytes = self.recorded.iter().map(|container| (names(container), container.emitted_bytes));
        page.counters("migrate_recorder", BYTES, "Bytes of these records", bytes)?;
        if self.programs.is_empty() {
            return Ok(());
        }
        let labels = |name| [("program", name)];
        let runs = self.programs.iter().map(|program| (labels(program.name), program.runs));
        page.counters("migrate_recorder_program_runs", None, "Runs of an eBPF program, by the kernel's BPF statistics", runs)?;
        let times = self.programs.iter().map(|program| (labels(program.name), program.run_time.as_secs_f64()));
        page.counters("migrate_recorder_program", SECONDS, "Time spent in an eBPF program, by the kernel's BPF statistics", times)
    }

    fn ring(&self, page: &mut Writer<'_>) -> fmt::Result {
        let ring = &self.ring;
        page.gauge("migrate_ring_size", BYTES, "Size of the ring between the programs and the agent", ring.bytes)?;
        let most = ring.stats.most_waiting_bytes;
        page.gauge("migrate_ring_high_water", BYTES, "The most that waited in the ring since the agent started", most)?;
        page.counter(
            "migrate_ring_read",
            BYTES,
            "Bytes taken out of the ring, its own headers included",
            Some(ring.stats.bytes),
        )?;
        page.counter("migrate_ring_entries", None, "Entries taken out of the ring", Some(ring.stats.entries))?;
        let help = "Entries of containers that were no longer recorded when they were taken out";
        page.counter("migrate_ring_unclaimed_entries", None, help, Some(ring.stats.unclaimed))?;
        let help = "Entries that are not records; each one ends a log";
        page.counter("migrate_ring_malformed_entries", None, help, Some(ring.stats.malformed))?;
        let help = "Times that the recorded containers were held because the ring was filling up";
        page.counter("migrate_ring_holds", None, help, Some(ring.held.count))?;
        let help = "Time for which the recorded containers were held because the ring was filling up";
        page.counter("migrate_ring_held", SECONDS, help, Some(ring.held.time.as_secs_f64()))
    }

    fn logs(&self, page: &mut Writer<'_>) -> fmt::Result {
        let groups = || {
            self.recorded.iter().flat_map(|container| {
                container.groups.iter().map(move |group| {
                    let [name, id] = names(container);
                    ([name, id, ("group", group.name)], group)
                })
            })
        };
        let records = groups().map(|(labels, group)| (labels, group.records));
        page.counters("migrate_log_records", None, "Records in a container's log, by group of system calls", records)?;
        let bytes = groups().map(|(labels, group)| (labels, group.input_bytes));
        let help = "Bytes in a container's log that the kernel gave to its tasks, by group of system calls";
        page.counters("migrate_log_input", BYTES, help, bytes)?;
        let raw = self.recorded.iter().map(|container| (names(container), container.log_raw_bytes));
        page.counters("migrate_log_raw", BYTES, "Bytes of a container's log before it was encoded and compressed", raw)?;
        let stored = self.recorded.iter().map(|container| (names(container), container.log_stored_bytes));
        page.counters("migrate_log_stored", BYTES, "Bytes of a container's log on disk", stored)?;
        let spool: u64 = self.recorded.iter().map(|container| container.log_stored_bytes).sum();
        page.gauge("migrate_spool", BYTES, "Bytes that the logs take on disk", spool)?;
        page.gauge("migrate_spool_limit", BYTES, "How many each of them may take", self.spool_limit_bytes)
    }

    fn process(&self, page: &mut Writer<'_>) -> fmt::Result {
        let process = &self.process;
        page.counter("process_cpu", SECONDS, "CPU time of the agent, user and system", Some(process.cpu.as_secs_f64()))?;
        page.gauge("process_resident_memory", BYTES, "Resident memory of the agent", process.resident_bytes)?;
        page.gauge("process_open_fds", None, "Open file descriptors of the agent", process.open_descriptors)?;
        page.gauge("process_start_time", SECONDS, "When the agent started, since 1970", process.started.as_secs_f64())
    }
}

fn names(container: &super::readings::Container) -> [(&'static str, &str); 2] {
    [("container", container.name.as_str()), ("container_id", container.id.as_str())]
}
