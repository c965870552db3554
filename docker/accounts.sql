-- The accounts of Jobmon's database, each with what it needs and no more. Run once by an account that may make others; a second run
-- changes nothing but the rights. Before that the words @APP_PASSWORD@, @MIGRATE_PASSWORD@ and @READ_ONLY_PASSWORD@ are replaced, and the database
-- `docker` by another name where it has one. For MariaDB 10.11 and later and for MySQL 8.
CREATE DATABASE IF NOT EXISTS `docker`;

-- The services: data, never the schema.
CREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY '@APP_PASSWORD@';
GRANT SELECT, INSERT, UPDATE, DELETE ON `docker`.* TO 'app'@'%';

-- `jobmon-server db migrate`: the schema, and the data that a migration moves.
CREATE USER IF NOT EXISTS 'migrate'@'%' IDENTIFIED BY '@MIGRATE_PASSWORD@';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW ON `docker`.* TO 'migrate'@'%';

-- People with a SQL program. Both spellings are in use.
CREATE USER IF NOT EXISTS 'read_only'@'%' IDENTIFIED BY '@READ_ONLY_PASSWORD@';
GRANT SELECT, SHOW VIEW ON `docker`.* TO 'read_only'@'%';
CREATE USER IF NOT EXISTS 'read-only'@'%' IDENTIFIED BY '@READ_ONLY_PASSWORD@';
GRANT SELECT, SHOW VIEW ON `docker`.* TO 'read-only'@'%';
