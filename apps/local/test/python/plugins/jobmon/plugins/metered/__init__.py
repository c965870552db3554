"""A cluster plug-in of the kind that sites write: multiprocess, on queues with a bound of memory, with resource failures.

A command finds what it was given in METERED_MEMORY (GiB) and METERED_QUEUE. A command that ends with 137, as one that was killed for lack of
memory does, has failed for lack of a resource. Queues bound memory by their parameter `memory`: [least, most].
"""

from jobmon.core.constants import TaskInstanceStatus
from jobmon.plugins.multiprocess.multiproc_distributor import MultiprocessDistributor, MultiprocessWorkerNode
from jobmon.plugins.multiprocess.multiproc_queue import MultiprocessQueue

KILLED = 137


class MeteredQueue(MultiprocessQueue):
    def validate_resources(self, strict=False, **resources):
        least, most = self.parameters["memory"]
        if least <= resources.get("memory", least) <= most:
            return True, ""
        return not strict, f"memory {resources['memory']} is not within {least} to {most} GiB of {self.queue_name}"

    def coerce_resources(self, **resources):
        least, most = self.parameters["memory"]
        return {**resources, "memory": min(max(resources.get("memory", least), least), most)}


class MeteredDistributor(MultiprocessDistributor):
    """Hands what was asked for to the command, by variables before the worker's program."""

    _given = ""

    @property
    def worker_node_entry_point(self):
        return f"{self._given}{self._worker_node_entry_point}"

    def submit_array_to_batch_distributor(self, command, name, requested_resources, array_length):
        given = {"METERED_MEMORY": requested_resources.get("memory"), "METERED_QUEUE": requested_resources.get("queue")}
        self._given = "".join(f"{variable}={value} " for variable, value in given.items())
        return super().submit_array_to_batch_distributor(command, name, requested_resources, array_length)


class MeteredWorkerNode(MultiprocessWorkerNode):
    def get_exit_info(self, exit_code, error_msg):
        if exit_code == KILLED:
            return TaskInstanceStatus.RESOURCE_ERROR, "killed for lack of memory"
        return super().get_exit_info(exit_code, error_msg)


def get_cluster_queue_class():
    return MeteredQueue


def get_cluster_distributor_class():
    return MeteredDistributor


def get_cluster_worker_node_class():
    return MeteredWorkerNode
