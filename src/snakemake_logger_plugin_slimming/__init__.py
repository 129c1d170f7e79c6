"""How a run of the workflow looks: a bar a rule on a terminal, a plain line for each finished job elsewhere.

Reasons and commands are in Snakemake's log file alone; a failed job shows its log. All but the plain lines is
snakemake-logger-plugin-rich's. Snakemake finds the module by its name, and profiles/default asks for it.
"""

from __future__ import annotations

from logging import LogRecord

from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_rich import LogHandler as Rich


class LogHandler(Rich):
    def emit(self, record: LogRecord) -> None:
        super().emit(record)
        if not self.console.is_terminal and getattr(record, "event", None) == LogEvent.JOB_FINISHED:
            events = self.event_handler
            job = events.jobs_info[record.job_id]
            named = " ".join([job["rule"], *map(str, (job["wildcards"] or {}).values())])
            self.console.print(f"{events.completed} of {events.total_jobs} done: {named}", soft_wrap=True, markup=False)
