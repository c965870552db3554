"""The published Python client against this server: an ordinary workflow script, nothing changed but an address.

    pip install jobmon_client jobmon_core        # a published 3.x version
    export JOBMON__HTTP__SERVICE_URL=http://127.0.0.1:8070 JOBMON__HTTP__ROUTE_PREFIX=/api/v3
    python examples/from_python.py
"""

import os
import sys

from jobmon.client.api import Tool

FOLDER = os.path.abspath("from-python")
os.makedirs(FOLDER, exist_ok=True)

tool = Tool(name="python letters")
workflow = tool.create_workflow(name="letters", default_cluster_name="multiprocess")

write = tool.get_task_template(
    template_name="write",
    command_template="echo {letter} > {folder}/{letter}.txt",
    node_args=["letter"],
    op_args=["folder"],
)
join = tool.get_task_template(
    template_name="join",
    command_template="cat {folder}/?.txt > {folder}/word.txt",
    op_args=["folder"],
)

# The queue of the clusters that every server has is null.q.
resources = {"queue": "null.q"}
letters = write.create_tasks(letter=["a", "b", "c"], folder=FOLDER, compute_resources=resources)
word = join.create_task(folder=FOLDER, compute_resources=resources, upstream_tasks=letters)
workflow.add_tasks([*letters, word])

status = workflow.run()  # "D" when all is done
print(f"workflow {workflow.workflow_id} ended with {status}")
sys.exit(0 if status == "D" else 1)
