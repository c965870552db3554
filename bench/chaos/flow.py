"""A workflow of the published Python client under fire: COUNT commands in WIDTH columns, each waiting for the one above it.

    flow.py FOLDER SCRIPT COUNT WIDTH LIMIT NAME [--resume]

Every fifth command fails once. The last line of the output is the run's status, as JSON.
"""

import json
import sys

from jobmon.client.api import Tool

folder, script, *numbers, name = [word for word in sys.argv[1:] if word != "--resume"]
count, width, limit = map(int, numbers)

tool = Tool("chaos")
# "exec": the worker interrupts the shell that it started, and no child of that shell.
template = tool.get_task_template(
    template_name="executed",
    command_template="exec perl {script} {folder} {label} {seconds} {failures}",
    node_args=["label"],
    task_args=["seconds", "failures"],
    op_args=["script", "folder"],
)
workflow = tool.create_workflow(
    workflow_args=name,
    name=name,
    max_concurrently_running=limit,
    default_cluster_name="multiprocess",
    default_max_attempts=60,
)
tasks = []
for position in range(count):
    tasks.append(
        template.create_task(
            name=f"{name}_{position}",
            upstream_tasks=tasks[position - width : position - width + 1] if position >= width else [],
            compute_resources={"queue": "null.q", "cores": 1},
            label=f"{name}_{position}",
            seconds=1 + position % 3,
            failures=1 if position % 5 == 3 else 0,
            script=script,
            folder=folder,
        )
    )
workflow.add_tasks(tasks)
status = workflow.run(
    resume="--resume" in sys.argv,
    resume_timeout=120,
    distributor_startup_timeout=60,
    seconds_until_timeout=7200,
    configure_logging=True,
)
print(json.dumps({"status": status}))
