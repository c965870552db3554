"""A workflow script as a site writes one; its shape comes from the command line.

    flow.py --cluster multiprocess --tier first second:once --tier last

A task is NAME[:ENDING[:SECONDS]], as note.sh takes them; NAME* stands for NAME0, NAME1, ... as --count says. Each task waits for the whole
tier above, or with --by-position for the task at its own position there. The last line of the output is the result, as JSON.
"""

import argparse
import json
import os

from jobmon.client.api import Tool

NOTE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "note.sh")


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workflow-args", default="")
    parser.add_argument("--cluster", default="sequential")
    parser.add_argument("--tool", default="diary")
    parser.add_argument("--template", default="note")
    parser.add_argument("--tier", action="append", nargs="+", required=True)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--by-position", action="store_true")
    parser.add_argument("--max-attempts", type=int, default=3)
    parser.add_argument("--fail-fast", action="store_true")
    parser.add_argument("--resume", choices=["cold", "hot"])
    parser.add_argument("--workflow-limit", type=int, default=10_000)
    parser.add_argument("--array-limit", type=int)
    parser.add_argument("--patience", type=int, default=10, help="seconds that the distributor has to shut down")
    parser.add_argument("--queue", default="null.q")
    parser.add_argument("--note", default=NOTE, help="the script that the commands are")
    parser.add_argument("--resources", type=json.loads, default={})
    parser.add_argument("--scales", type=json.loads, default={})
    parser.add_argument("--fallback", nargs="*", default=[])
    return parser.parse_args()


def split(text, count):
    """The tasks that one word of a tier stands for: (name, ending, seconds) each."""
    name, *rest = text.split(":")
    ending = rest[0] if rest else "ok"
    seconds = rest[1] if len(rest) > 1 else "0"
    names = [f"{name[:-1]}{n}" for n in range(count)] if name.endswith("*") else [name]
    return [(each, ending, seconds) for each in names]


def build(args):
    # "exec": the worker interrupts the shell that it started, and no child of that shell.
    template = tool.get_task_template(
        template_name=args.template,
        command_template="exec sh {note} {label} {ending} {seconds}",
        node_args=["label"],
        task_args=["ending", "seconds"],
        op_args=["note"],
    )
    workflow = tool.create_workflow(
        workflow_args=args.workflow_args,
        name="diary_flow",
        description="Commands that write a diary",
        workflow_attributes={"purpose": "a test"},
        max_concurrently_running=args.workflow_limit,
        default_cluster_name=args.cluster,
        default_max_attempts=args.max_attempts,
    )
    above = []
    for words in args.tier:
        tier = []
        for position, (name, ending, seconds) in enumerate(one for word in words for one in split(word, args.count)):
            task = template.create_task(
                name=f"task_{name}",
                upstream_tasks=above[position : position + 1] if args.by_position else above,
                task_attributes={"position": str(position)},
                compute_resources={"queue": args.queue, "cores": 1, **args.resources},
                resource_scales=args.scales or None,
                fallback_queues=args.fallback or None,
                label=name,
                ending=ending,
                seconds=seconds,
                note=args.note,
            )
            tier.append(task)
        workflow.add_tasks(tier)
        above = tier
    if args.array_limit is not None:
        workflow.set_task_template_max_concurrency_limit(args.template, args.array_limit)
    return workflow


args = parse_args()
tool = Tool(args.tool)
workflow = build(args)
status = workflow.run(
    fail_fast=args.fail_fast,
    resume=args.resume is not None,
    reset_running_jobs=args.resume != "hot",
    resume_timeout=20,
    distributor_startup_timeout=args.patience,
    seconds_until_timeout=7200,
    configure_logging=True,
)
tasks = {task.name.removeprefix("task_"): task for task in workflow.tasks.values()}
result = {
    "workflow_id": workflow.workflow_id,
    "workflow_run_id": workflow.last_workflow_run_id,
    "status": status,
    "tasks": {name: task.final_status for name, task in tasks.items()},
    "task_ids": {name: task.task_id for name, task in tasks.items()},
    "array_id": workflow.arrays[args.template].array_id,
    "errors": {
        name.removeprefix("task_"): [entry["error_log"][0]["description"] for entry in [errors] if errors]
        for name, errors in workflow.task_errors.items()
    },
}
print(json.dumps(result))
