/** The version of this house, as clients, agents and the server tell it each other. Equals package.json; a test says so. */
export const VERSION = '0.1.0';
