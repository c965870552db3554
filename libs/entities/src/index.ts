/** The database of the house: entities of the ERD, the schema with its migrations, and the seam to both kinds of database. */
export * from './array';
export * from './cluster';
export * from './dag';
export * from './data-source';
export * from './database';
export * from './entities';
export * from './hold';
export * from './lookup';
export * from './set-statements';
export * from './task';
export * from './task-instance';
export * from './task-template';
export * from './tool';
export * from './workflow';
export * from './workflow-run';
