/** The whole house in one process: for the command line, for benchmarks, and for tests that start it themselves. */
export { startHouse, type House, type HouseOptions, type HousePart } from './house';
export { loadHouseConfig, serve, type ServeFlags } from './serve';
