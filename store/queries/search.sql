-- Messages in which the target says a word, with what stands around it: change the word.
SELECT audit_id, condition_id, phase, message_id,
       regexp_extract(text, '(?is).{0,60}\bcontinue\b.{0,60}') AS around
FROM transcripts
WHERE role = 'assistant' AND text ILIKE '%continue%' AND around <> ''
LIMIT 200
