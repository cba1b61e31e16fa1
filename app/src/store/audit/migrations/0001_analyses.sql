-- One row for each analysis, one for each of its calls to a provider. Times are in UTC, amounts in billionths of a
-- US dollar, scores in millionths. (producer, seq) is the number of the fact in the app's journal: what is written
-- twice stands once.
CREATE TABLE IF NOT EXISTS analyses (
  producer CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  ended_at DATETIME(3) NOT NULL,
  request_id VARCHAR(128) NOT NULL,
  session_id VARCHAR(128) NOT NULL,
  caller VARCHAR(128) NOT NULL,
  user_pseudonym VARCHAR(64) NULL,
  task_type VARCHAR(16) NOT NULL,
  mode VARCHAR(16) NOT NULL,
  status VARCHAR(16) NOT NULL,
  answer_source VARCHAR(32) NOT NULL,
  cached BOOLEAN NOT NULL,
  duration_us BIGINT UNSIGNED NOT NULL,
  confidence_ppm INT UNSIGNED NULL,
  consensus_ppm INT UNSIGNED NULL,
  cost_nanousd BIGINT UNSIGNED NOT NULL,
  prompt_bytes BIGINT UNSIGNED NOT NULL,
  prompt_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (producer, seq),
  KEY by_time (ended_at),
  KEY by_request (request_id),
  KEY by_caller (caller, ended_at),
  KEY by_user (user_pseudonym, ended_at)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS analysis_calls (
  producer CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  call_number SMALLINT UNSIGNED NOT NULL,
  provider VARCHAR(32) NOT NULL,
  model VARCHAR(200) NOT NULL,
  status VARCHAR(16) NOT NULL,
  duration_us BIGINT UNSIGNED NOT NULL,
  input_tokens BIGINT UNSIGNED NOT NULL,
  output_tokens BIGINT UNSIGNED NOT NULL,
  cost_nanousd BIGINT UNSIGNED NOT NULL,
  error_kind VARCHAR(200) NULL,
  PRIMARY KEY (producer, seq, call_number),
  CONSTRAINT calls_of_an_analysis FOREIGN KEY (producer, seq) REFERENCES analyses (producer, seq) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
