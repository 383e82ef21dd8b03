"""The jobs of pipelines/schedule.toml as an Airflow DAG each: Airflow keeps the times, retries and history instead of
`flea schedule run`, and runs the same commands.

Put this file into Airflow's folder of DAGs; CHECKOUT and FLEA_HOME are Airflow variables. One file, one source: what
changes in schedule.toml changes here. Airflow's cron follows the same zones; at the changes of the clock its own rules
hold, not those of docs/schedules.md.
"""

import shlex
import tomllib
from datetime import datetime, timedelta
from pathlib import Path

from airflow import DAG
from airflow.models import Variable
from airflow.operators.bash import BashOperator

CHECKOUT = Path(Variable.get("CHECKOUT"))
FLEA_HOME = Variable.get("FLEA_HOME")


def command_of(job: dict) -> str:
    """A job's words for bash, which Airflow calls; each is quoted, so that none is read."""
    words = job["command"] if isinstance(job["command"], list) else shlex.split(job["command"])
    own = {"flea": ".venv/bin/flea", "python": ".venv/bin/python", "python3": ".venv/bin/python"}
    return shlex.join([own.get(words[0], words[0]), *words[1:]])


def dag_of(job: dict) -> DAG:
    """The DAG of one job: no overlap, no catching up of more than one, its limits."""
    zone = job.get("zone", "UTC")
    every = timedelta(seconds=job["every_s"]) if "every_s" in job else job["cron"]
    with DAG(
        dag_id=f"flea_{job['name'].replace('-', '_')}",
        schedule=every,
        start_date=start_in(zone),
        catchup=False,
        max_active_runs=1,
    ) as dag:
        BashOperator(
            task_id="run",
            bash_command=f"{command_of(job)} ",  # the blank keeps Airflow from taking it for a template's file
            cwd=str(CHECKOUT),
            env={"FLEA_HOME": FLEA_HOME},
            append_env=True,
            retries=job.get("retries", 0),
            retry_delay=timedelta(seconds=job.get("backoff_s", 60.0)),
            retry_exponential_backoff=True,
            execution_timeout=timedelta(seconds=job.get("timeout_s", 3600.0)),
        )
    return dag


def start_in(zone: str) -> datetime:
    """A day in the past, in the job's zone: Airflow reads its cron in the zone of the start."""
    import pendulum

    return pendulum.datetime(2026, 1, 1, tz=zone)


with (CHECKOUT / "pipelines" / "schedule.toml").open("rb") as file:
    for one in tomllib.load(file)["jobs"]:
        dag = dag_of(one)
        globals()[dag.dag_id] = dag
