/** Which function answers which operation of the Python protocol that the api owns, or has a word to say in. */
import type { Register } from '../context';
import { registerArray } from './array';
import { registerCluster } from './cluster';
import { registerDag } from './dag';
import { registerLimit } from './limit';
import { registerOverride } from './override';
import { registerReaper } from './reaper';
import { registerResume } from './resume';
import { registerService } from './service';
import { registerTask } from './task';
import { registerTaskInstanceView } from './task-instance-view';
import { registerTaskResources } from './task-resources';
import { registerTaskTemplate } from './task-template';
import { registerTaskTemplateView } from './task-template-view';
import { registerTaskView } from './task-view';
import { registerTool } from './tool';
import { registerWorkflow } from './workflow';
import { registerWorkflowRun } from './workflow-run';
import { registerWorkflowTasks } from './workflow-tasks';
import { registerWorkflowView } from './workflow-view';

export function registerPythonProtocol(answer: Register): void {
  registerService(answer);
  registerTool(answer);
  registerTaskTemplate(answer);
  registerCluster(answer);
  registerTaskResources(answer);
  registerDag(answer);
  registerWorkflow(answer);
  registerArray(answer);
  registerLimit(answer);
  registerTask(answer);
  registerWorkflowTasks(answer);
  registerTaskInstanceView(answer);
  registerWorkflowRun(answer);
  registerResume(answer);
  registerOverride(answer);
  registerReaper(answer);
  registerTaskView(answer);
  registerTaskTemplateView(answer);
  registerWorkflowView(answer);
}
